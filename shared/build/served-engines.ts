/** What can be asked for: engine → the kinds of images it makes. Where no node has the engine, its builds wait and say so. A test holds it to the image-builder's engines. Pure. */
import type { Engine, ImageType } from './request.ts';

export const servedEngines: Readonly<Partial<Record<Engine, readonly ImageType[]>>> = {
  kiwi: ['live'],
  native: ['live', 'boot', 'dvd'],
  lorax: ['boot'],
  'livemedia-creator': ['live'],
  mkksiso: ['boot', 'dvd'],
  'image-builder': ['dvd'],
};
