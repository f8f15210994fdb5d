import { EventSource } from 'launchdarkly-eventsource';
import { watch } from './eventsource-api.mjs';

watch(EventSource);
