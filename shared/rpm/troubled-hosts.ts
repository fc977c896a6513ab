/** Remembers for a while which hosts broke off, so that the next downloads go to the others first. Never more than an order: no host is left out. */
import type { Clock } from '../clock/clock.ts';

const rememberedMs = 2 * 60_000;
const hostsMax = 200;

export interface TroubledHosts {
  broke(url: string): void;
  worked(url: string): void;
  /** The same addresses, those of troubled hosts last. */
  last<Source extends { readonly url: string }>(sources: readonly Source[]): readonly Source[];
}

export function troubledHosts(clock: Pick<Clock, 'now'>): TroubledHosts {
  const until = new Map<string, number>();
  const isTroubled = ({ url }: { readonly url: string }) => (until.get(hostOf(url)) ?? 0) > clock.now();
  return {
    broke: (url) => {
      until.delete(hostOf(url));
      until.set(hostOf(url), clock.now() + rememberedMs);
      const [oldest] = until.keys();
      if (until.size > hostsMax && oldest !== undefined) until.delete(oldest);
    },
    worked: (url) => void until.delete(hostOf(url)),
    last: (sources) => [...sources.filter((source) => !isTroubled(source)), ...sources.filter(isTroubled)],
  };
}

/** With its port; empty for what is no URL. */
export function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : '';
}
