/** A build node as a process of its own: `node dist/services/image-builder/main.js`. */
import { runAlone } from '../../shared/stage/alone.ts';
import { startImageBuilder } from './start.ts';

await runAlone({ name: 'image-builder', needs: ['packages'], start: startImageBuilder });
