/** All RPM downloads of this process: how many at once, each file once, and room for them before the first byte. */

import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { PartialFiles } from '../downloads/partial-files.ts';
import type { Egress } from '../egress/egress.ts';
import { formatNevra } from '../fedora/nvr.ts';
import { megabytes } from '../log/byte-size.ts';
import { hostSlots } from '../parallel/host-slots.ts';
import { type SharedFlight, sharedFlight } from '../parallel/shared-flight.ts';
import { downloadKey, type Fetched, fetchRpm, isOfThisSource, type RpmSource, type RpmTarget, type WantedRpm } from './fetch-rpm.ts';
import { type PaceLimits, usualPace } from './transfer-pace.ts';
import { troubledHosts } from './troubled-hosts.ts';

export interface RpmDownloads {
  /**
   * Downloads the RPM into the target, and resolves once it is there. Who asks while the same file is on its way waits for that; who leaves does not end it for the others. Rejects as fetchRpm does.
   * `onBytes`: how many of the file are here.
   */
  fetch<Source extends RpmSource>(
    rpm: WantedRpm<Source>,
    options: { readonly signal: AbortSignal; readonly onBytes?: (bytes: number) => void },
  ): Promise<Fetched<Source>>;
  /** Asks once for the room that all of one build's files need. Rejects with DISK_FULL where they do not fit beside what others were promised. */
  reserve(bytes: number): Promise<Room>;
  /** Removes parts that nobody went on with: old ones, and the oldest of too many. Resolves with their number. */
  sweep(): Promise<number>;
  /** Ends all downloads; what came of them stays for the next process. */
  close(): Promise<void>;
}

interface Room {
  /** So many of them came: they are on the disk, and no longer promised. */
  filled(bytes: number): void;
  /** Twice is once. */
  release(): void;
}

export interface RpmDownloadsOptions {
  readonly egress: Egress;
  readonly clock: Clock;
  readonly partials: PartialFiles;
  readonly target: RpmTarget;
  readonly atOnceMax?: number;
  readonly perHostMax?: number;
  readonly pace?: PaceLimits;
  /** Left free of what downloads may fill: the service itself writes too. */
  readonly marginBytes?: number;
  readonly partialAgeMsMax?: number;
  readonly partialBytesMax?: number;
}

const day = 24 * 3_600_000;
const usual = { atOnceMax: 16, perHostMax: 8, marginBytes: 256e6, partialAgeMsMax: 7 * day, partialBytesMax: 4e9 };
const sweptEveryMs = 3_600_000;

interface Arrived extends Omit<Fetched<RpmSource>, 'source'> {
  readonly url: string;
}

interface Flight {
  readonly shared: SharedFlight<Arrived>;
  readonly urls: readonly string[];
  readonly listeners: Set<(bytes: number) => void>;
  bytes: number;
}

export function rpmDownloads(options: RpmDownloadsOptions): RpmDownloads {
  const { egress, clock, partials, target, pace = usualPace } = options;
  const { atOnceMax, perHostMax, marginBytes, partialAgeMsMax, partialBytesMax } = { ...usual, ...options };
  const ports = { egress, clock, partials, target, pace, slots: hostSlots({ atOnceMax, perHostMax }), hosts: troubledHosts(clock) };
  const flights = new Map<string, Flight>();
  const rooms = new Set<{ bytes: number }>();
  const ending = new AbortController();
  let sweptAt = Number.NEGATIVE_INFINITY;
  let sweeping: Promise<unknown> = Promise.resolve();

  const start = (key: string, rpm: WantedRpm<RpmSource>): Flight => {
    // One that was given up may still be writing to the same part.
    const before = flights.get(key)?.shared.ended;
    const listeners: Flight['listeners'] = new Set();
    const flight: Flight = {
      urls: rpm.sources.map(({ url }) => url),
      listeners,
      bytes: 0,
      shared: sharedFlight(async (signal) => {
        await Promise.all([before, sweeping]);
        const { source, ...arrived } = await fetchRpm(rpm, ports, {
          signal,
          onBytes: (bytes) => {
            flight.bytes = bytes;
            for (const tell of listeners) tell(bytes);
          },
        });
        return { ...arrived, url: source.url };
      }, ending.signal),
    };
    flights.set(key, flight);
    void flight.shared.ended.then(() => {
      if (flights.get(key) === flight) flights.delete(key);
    });
    return flight;
  };

  const sweep = (): Promise<number> => {
    sweptAt = clock.now();
    const swept = partials.sweep({ ageMsMax: partialAgeMsMax, bytesMax: partialBytesMax });
    sweeping = swept.catch(() => {});
    return swept;
  };

  return {
    fetch: async (rpm, { signal, onBytes }) => {
      const key = downloadKey(rpm);
      for (;;) {
        if (ending.signal.aborted) throw ending.signal.reason;
        signal.throwIfAborted();
        const underWay = flights.get(key);
        const joined = underWay?.shared.isOver() === false ? underWay : undefined;
        const flight = joined ?? start(key, rpm);
        if (onBytes) flight.listeners.add(onBytes);
        if (onBytes && flight.bytes > 0) onBytes(flight.bytes);
        try {
          const { url, ...arrived } = await flight.shared.join(signal);
          const source = rpm.sources.find((each) => each.url === url) ?? rpm.sources[0];
          // With the digest known, any address stands for the one that gave the file.
          if (source) return { ...arrived, source };
          throw new SpindleError('PACKAGE_UNREACHABLE', `no address of ${formatNevra(rpm.nevra)} is known`);
        } catch (error) {
          signal.throwIfAborted();
          const hasOthers = joined && rpm.sources.some((source) => !joined.urls.includes(source.url));
          // It failed at addresses that somebody else knew: there are more.
          if (!hasOthers || !(error instanceof SpindleError) || !isOfThisSource(error)) throw error;
        } finally {
          if (onBytes) flight.listeners.delete(onBytes);
        }
      }
    },

    reserve: async (bytes) => {
      if (flights.size === 0 && clock.now() - sweptAt > sweptEveryMs) await sweep();
      const { bytes: free, directory } = bytes > 0 ? await partials.room() : { bytes: Number.POSITIVE_INFINITY, directory: partials.directory };
      const promised = [...rooms].reduce((sum, room) => sum + room.bytes, 0);
      const wanted = bytes + promised + marginBytes;
      if (free < wanted) {
        const others = promised > 0 ? `, ${megabytes(promised)} are promised to other builds` : '';
        throw new SpindleError(
          'DISK_FULL',
          `${megabytes(bytes)} of packages have to be downloaded to ${directory}, where ${megabytes(free)} are free${others} and ${megabytes(marginBytes)} stay free in any case: free at least ${megabytes(wanted - free)} more there`,
        );
      }
      const room = { bytes };
      rooms.add(room);
      return {
        filled: (came) => {
          room.bytes = Math.max(0, room.bytes - came);
        },
        release: () => void rooms.delete(room),
      };
    },

    sweep,

    close: async () => {
      ending.abort(new SpindleError('PORT_CLOSED', 'the downloads were used after they were closed'));
      await Promise.all([...flights.values()].map(({ shared }) => shared.ended));
    },
  };
}
