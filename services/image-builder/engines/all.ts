/** The engines that the image-builder has. */
import { osbuild } from './image-builder.ts';
import { kiwi } from './kiwi.ts';
import { livemediaCreator } from './livemedia-creator.ts';
import { lorax } from './lorax.ts';
import { mkksiso } from './mkksiso.ts';
import { native } from './native.ts';

/** In the order in which they are told of. Which of them a node can run, it finds out by what each needs. */
export const imageEngines = [kiwi, native, lorax, livemediaCreator, mkksiso, osbuild];
