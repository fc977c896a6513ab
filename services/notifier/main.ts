/** The notifier as a process of its own: `node dist/services/notifier/main.js`. */
import { runAlone } from '../../shared/stage/alone.ts';
import { startNotifier } from './start.ts';

await runAlone({ name: 'notifier', needs: ['mail'], start: startNotifier });
