/** A simulated process: what it does through its ports ends for ever the moment it is killed, and waits while it is stalled. */

import type { Clock } from '../../shared/clock/clock.ts';
import type { VirtualClock } from '../../shared/clock/virtual.ts';

export interface SimulatedProcess {
  readonly name: string;
  readonly isDead: () => boolean;
  /** kill -9: nothing of it runs on. */
  kill(): void;
  /** SIGSTOP until the virtual time given. */
  stall(untilMs: number): void;
  onDeath(task: () => void): void;
  /** Resolves when the process may go on; never, once it is dead. */
  gate(): Promise<void>;
}

export function simulatedProcess(name: string, clock: VirtualClock): SimulatedProcess {
  let dead = false;
  let stalledUntil = 0;
  const tasks: (() => void)[] = [];
  const never = new Promise<never>(() => undefined);
  return {
    name,
    isDead: () => dead,
    kill: () => {
      if (dead) return;
      dead = true;
      for (const task of tasks) task();
    },
    stall: (untilMs) => {
      stalledUntil = Math.max(stalledUntil, untilMs);
    },
    onDeath: (task) => {
      tasks.push(task);
    },
    gate: async () => {
      while (!dead && clock.now() < stalledUntil) await clock.sleep(stalledUntil - clock.now());
      if (dead) await never;
    },
  };
}

/** The port as this process has it: every answer comes through the gate. Objects that a call gives back are wrapped too where `deep` names the call. */
export function mortal<T extends object>(port: T, process: SimulatedProcess, deep: readonly string[] = []): T {
  return new Proxy(port, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key);
      if (typeof member !== 'function') return member;
      return (...given: unknown[]): unknown => {
        const result: unknown = Reflect.apply(member, target, given);
        if (!(result instanceof Promise)) return result;
        return result.then(
          (value) => process.gate().then(() => (deep.includes(String(key)) && typeof value === 'object' && value !== null ? mortal(value, process) : value)),
          (error: unknown) => process.gate().then(() => Promise.reject(error)),
        );
      };
    },
  });
}

/** Timers of a dead process never fire; those of a stalled one fire when it goes on. */
export function mortalClock(clock: Clock, process: SimulatedProcess): Clock {
  return {
    now: () => clock.now(),
    id: () => clock.id(),
    random: () => clock.random(),
    after: (ms, task) => {
      let isForgotten = false;
      const forget = clock.after(ms, () => {
        void process.gate().then(() => {
          if (!isForgotten) task();
        });
      });
      return () => {
        isForgotten = true;
        forget();
      };
    },
    sleep: (ms, signal) =>
      clock.sleep(ms, signal).then(
        () => process.gate(),
        (error: unknown) => process.gate().then(() => Promise.reject(error)),
      ),
  };
}
