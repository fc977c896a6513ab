/** The uploader as a process of its own: `node dist/services/uploader/main.js`. */
import { runAlone } from '../../shared/stage/alone.ts';
import { startUploader } from './start.ts';

await runAlone({ name: 'uploader', needs: [], start: startUploader });
