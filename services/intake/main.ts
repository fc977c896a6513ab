/** Intake as a process of its own: `node dist/services/intake/main.js`. */
import { runAlone } from '../../shared/stage/alone.ts';
import { startIntake } from './start.ts';

await runAlone({ name: 'intake', needs: ['packages', 'solver'], listen: (host) => startIntake(host) });
