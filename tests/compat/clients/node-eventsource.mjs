// Node's own EventSource; on pages it is the same.
import { watch } from './eventsource-api.mjs';

watch(EventSource);
