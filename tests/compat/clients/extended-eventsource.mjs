import { EventSource } from 'extended-eventsource';
import { watch } from './eventsource-api.mjs';

watch(EventSource);
