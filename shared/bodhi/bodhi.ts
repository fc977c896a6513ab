/** The Bodhi port: what the resolver asks Fedora's update system about, reading only and without a login. */

export const updateStatuses = ['pending', 'testing', 'stable', 'unpushed', 'obsolete'] as const;
export type UpdateStatus = (typeof updateStatuses)[number];

export interface BodhiUpdate {
  /** `FEDORA-2026-0123456789` */
  readonly alias: string;
  readonly status: UpdateStatus;
  /** What its owner asked for next, or null. */
  readonly request: string | null;
  /** True while it is inside a running push. */
  readonly isLocked: boolean;
  /** Bodhi's name of the release: `F44`. */
  readonly releaseName: string;
  /** The side tag that it was made from, or null. */
  readonly fromTag: string | null;
  /** All of them were tested together. `epoch` as Bodhi has it. */
  readonly builds: readonly { readonly nvr: string; readonly isSigned: boolean; readonly epoch: number }[];
}

/** Rejects with BODHI_UNREACHABLE (no answer, not JSON, a bot wall, 429 or 5xx, after its own retries), or the signal's reason: never with a wrong answer. */
export interface Bodhi {
  /** In the order of the aliases. Undefined: Bodhi has no such update. */
  getUpdates(aliases: readonly string[], signal?: AbortSignal): Promise<readonly (BodhiUpdate | undefined)[]>;
  /** The updates of a release (Bodhi's name) in these states that hold one of the source packages or of the exact builds, newest first, at most 100; both lists empty: none. */
  findUpdates(
    wanted: {
      readonly releaseName: string;
      readonly statuses: readonly UpdateStatus[];
      readonly packages?: readonly string[];
      readonly builds?: readonly string[];
    },
    signal?: AbortSignal,
  ): Promise<readonly BodhiUpdate[]>;
}
