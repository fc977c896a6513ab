/** The boot test as a process of its own: `node dist/services/boot-test/main.js`. */
import { runAlone } from '../../shared/stage/alone.ts';
import { startBootTest } from './start.ts';

await runAlone({ name: 'boot-test', needs: [], start: startBootTest });
