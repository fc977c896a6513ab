/** A benchmark's module in a process of its own: started, asked and answered over Node's channel between the two. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A module beside this one, as it is or compiled. */
export function startSubject(name: string): ChildProcess {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fork(fileURLToPath(new URL(`./${name}.${extension}`, import.meta.url)), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}

/** Rejects where the process ends, or says nothing for so long. */
export function nextMessage<T>(child: ChildProcess, waitMsMax: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${waitMsMax / 1000} s`)), waitMsMax);
    const end = (code: number | null) => reject(new Error(`the process ended with ${code}`));
    child.once('exit', end);
    child.once('message', (message) => {
      clearTimeout(timer);
      child.off('exit', end);
      resolve(message as T);
    });
  });
}

/** For the end of such a module: answers each message, where the module is what this process was started with. */
export function answerRounds<Order, Answer>(name: string, round: (order: Order) => Promise<Answer>): void {
  if (!process.send || !process.argv[1]?.includes(name)) return;
  process.on('message', (order: Order) => {
    void round(order).then(
      (answer) => process.send?.(answer),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
  process.on('disconnect', () => process.exit());
}
