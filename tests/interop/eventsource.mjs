// Gives an older Node the EventSource that newer ones have built in: it is undici's there, too.
import { EventSource } from 'undici';
globalThis.EventSource ??= EventSource;
