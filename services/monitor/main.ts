/** The monitor as a process of its own: `node dist/services/monitor/main.js`. */
import { runAlone } from '../../shared/stage/alone.ts';
import { startMonitor } from './start.ts';

await runAlone({ name: 'monitor', needs: [], listen: startMonitor });
