import { EventSource } from 'eventsource';
import { watch } from './eventsource-api.mjs';

watch(EventSource);
