/** The faults that the simulation can inject, and the dice: each seed draws which of them are on and how strong. */
import { type Step, steps } from '../../shared/stage/steps.ts';

export const faultKinds = [
  ...steps.map((step) => `crash after ${step}` as const),
  'crash at random',
  'stall',
  'duplicate',
  'reorder',
  'delay',
  'channel lost',
  'acknowledgement lost',
  'broadcast lost',
  'bus emptied',
  'publish refused',
  'confirm lost',
  'commit conflict',
  'store refused',
  'commit answer lost',
  'slow tool',
  'tool breaks for a while',
  'tool breaks for good',
  'tool hangs',
  'download cut',
  'letter refused for a while',
  'cancel',
  'orderly stop',
  'worker drained',
] as const;
type FaultKind = (typeof faultKinds)[number];

/** How often a kind strikes where its seed drew it at full strength. */
const rates: Readonly<Partial<Record<FaultKind, number>>> = {
  stall: 0.01,
  duplicate: 0.15,
  reorder: 0.2,
  delay: 0.1,
  'channel lost': 0.1,
  'acknowledgement lost': 0.1,
  'broadcast lost': 0.5,
  'publish refused': 0.1,
  'confirm lost': 0.1,
  'commit conflict': 0.1,
  'store refused': 0.03,
  'commit answer lost': 0.03,
  'slow tool': 0.2,
  'tool breaks for a while': 0.06,
  'tool breaks for good': 0.02,
  'tool hangs': 0.02,
  'download cut': 0.1,
  'letter refused for a while': 0.3,
};
const crashRate = 0.05;

export interface Faults {
  /** True where the fault strikes now; counted. */
  strikes(kind: FaultKind): boolean;
  crashesAfter(step: Step): boolean;
  /** Counts a fault that the world itself timed. */
  count(kind: FaultKind): void;
  /** Whether this seed has the kind at all. */
  isOn(kind: FaultKind): boolean;
  /** For the generated tests: nothing but one crash, the first time that `service` has done `step`. */
  isPlannedCrash(service: string, step: Step): boolean;
  /** No more faults from here on. */
  calm(): void;
  readonly counts: ReadonlyMap<FaultKind, number>;
}

export interface PlannedCrash {
  readonly service: string;
  readonly step: Step;
}

/** With a `plan` no dice are thrown: that one crash is all that happens. */
export function drawFaults(random: () => number, plan?: PlannedCrash): Faults {
  const strength = new Map<FaultKind, number>(faultKinds.map((kind) => [kind, plan || random() < 0.5 ? 0 : random()]));
  let isPlanOpen = plan !== undefined;
  const counts = new Map<FaultKind, number>();
  let isCalm = false;
  const count = (kind: FaultKind) => void counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const strikes = (kind: FaultKind): boolean => {
    const drawn = strength.get(kind) ?? 0;
    // The dice are thrown also for kinds that are off, so that switching one off does not shift the others.
    const hit = random() < drawn * (kind.startsWith('crash after') ? crashRate : (rates[kind] ?? 0));
    if (!hit || isCalm) return false;
    count(kind);
    return true;
  };
  return {
    strikes,
    crashesAfter: (step) => strikes(`crash after ${step}`),
    count,
    isPlannedCrash: (service, step) => {
      if (!isPlanOpen || plan?.service !== service || plan.step !== step) return false;
      isPlanOpen = false;
      count(`crash after ${step}`);
      return true;
    },
    isOn: (kind) => (strength.get(kind) ?? 0) > 0 && !isCalm,
    calm: () => {
      isCalm = true;
    },
    counts,
  };
}
