/** Side-repo as a process of its own: `node dist/services/side-repo/main.js`. */
import { runAlone } from '../../shared/stage/alone.ts';
import { startSideRepo } from './start.ts';

await runAlone({ name: 'side-repo', needs: ['packages'], start: startSideRepo });
