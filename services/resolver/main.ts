/** The resolver as a process of its own: `node dist/services/resolver/main.js`. */
import { runAlone } from '../../shared/stage/alone.ts';
import { startResolver } from './start.ts';

await runAlone({ name: 'resolver', needs: ['packages', 'solver'], start: startResolver });
