/** Routes for dead letters: list, show, requeue, drop. */
import { z } from 'zod';
import type { Build } from '../../../shared/build/build.ts';
import { SpindleError } from '../../../shared/build/failure.ts';
import { type DeadLetter, deadLettersMax } from '../../../shared/bus/dead-letter.ts';
import { checkedBody } from '../../../shared/http/checked-body.ts';
import { Problem } from '../../../shared/http/problem.ts';
import { type App, apiPrefix } from '../../../shared/http/section.ts';
import type { MonitorPorts } from '../ports.ts';
import { buildIdOf, requeuePlan } from '../requeue.ts';
import { DeadLetterPage, deadLettersPath, publicDeadLetter, publicLetterId, Requeued, WholeDeadLetter, wholeDeadLetter } from '../view.ts';

const limitMax = 200;
const ListQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(limitMax).default(50),
  cursor: z.string().max(1024).optional(),
});
const idParameter = z.object({ id: z.string() });
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

const unknown = () => new Problem('DEAD_LETTER_UNKNOWN', 'there is no dead letter of this id: it was never there, was requeued, or was dropped');

export function deadLetterRoutes(app: App, { bus, builds, clock, logger }: MonitorPorts): void {
  const required = async (publicId: string): Promise<DeadLetter> => {
    const found = (await bus.deadLetters(deadLettersMax)).find((letter) => publicLetterId(letter) === publicId);
    if (!found) throw unknown();
    return found;
  };
  const recordedBuild = async (letter: DeadLetter): Promise<Build | undefined> => {
    const id = buildIdOf(letter);
    return id !== undefined && uuid.test(id) ? (await builds.get(id))?.document : undefined;
  };

  app.route({
    method: 'GET',
    url: deadLettersPath,
    schema: {
      tags: ['queues'],
      summary: 'Dead letters: messages that were given up, the oldest first',
      description: `Without their bodies. Of more than ${deadLettersMax} the oldest ${deadLettersMax} are shown.`,
      querystring: ListQuery,
      response: { 200: DeadLetterPage },
    },
    handler: async ({ query: { limit, cursor } }) => {
      const letters = [...(await bus.deadLetters(deadLettersMax))].sort((a, b) => (placeOf(a) < placeOf(b) ? -1 : 1));
      const after = cursor === undefined ? undefined : cursorPlace(cursor);
      const rest = after === undefined ? letters : letters.filter((letter) => placeOf(letter) > after);
      const items = rest.slice(0, limit);
      const last = items.at(-1);
      return { meta: { limit, nextCursor: last && rest.length > limit ? cursorOf(last) : null }, items: items.map(publicDeadLetter) };
    },
  });

  app.route({
    method: 'GET',
    url: `${deadLettersPath}/:id`,
    schema: { tags: ['queues'], summary: 'One dead letter, with the message', params: idParameter, response: { 200: WholeDeadLetter } },
    handler: async ({ params }) => wholeDeadLetter(await required(params.id)),
  });

  app.route({
    method: 'POST',
    url: `${deadLettersPath}/:id/requeue`,
    schema: {
      tags: ['queues'],
      summary: 'Try again what was given up',
      description:
        'The letter of a build that failed or was canceled becomes a new build with `retryOf`, which begins with the stage that gave it up and uses what earlier stages made. Any other message is published again. The letter is gone afterwards; asked for again, it is unknown.',
      params: idParameter,
      response: { 202: Requeued },
    },
    handler: async ({ params, body }, reply) => {
      checkedBody(z.strictObject({}), body);
      const { id } = await required(params.id);
      let retry: string | null = null;
      const isTaken = await bus.takeDeadLetter(id, async (letter) => {
        const plan = requeuePlan(letter, await recordedBuild(letter), clock.now());
        if (plan.kind === 'refuse') throw new Problem('DEAD_LETTER_UNUSABLE', plan.reason);
        if (plan.kind === 'publish') return publishedAgain(letter);
        // Where it is there already, an earlier requeue was cut off after this step.
        await builds.insert(plan.build);
        retry = plan.build.id;
      });
      if (!isTaken) throw unknown();
      logger.info({ deadLetterId: id, retry }, 'a dead letter was requeued');
      const build: Record<string, string> = retry === null ? {} : { build: `${apiPrefix}/builds/${retry}` };
      reply.code(202);
      if (build['build'] !== undefined) reply.header('location', build['build']);
      return { id: params.id, outcome: retry === null ? ('published' as const) : ('retried' as const), buildId: retry, links: build };
    },
  });

  const publishedAgain = async ({ id, routingKey, body }: DeadLetter): Promise<void> => {
    try {
      await bus.publish({ id, routingKey, body });
    } catch (error) {
      if (!(error instanceof SpindleError && (error.code === 'BUS_UNROUTABLE' || error.code === 'INTERNAL'))) throw error;
      throw new Problem('DEAD_LETTER_UNUSABLE', `no queue takes it (${error.message}); drop the letter`);
    }
  };

  app.route({
    method: 'DELETE',
    url: `${deadLettersPath}/:id`,
    schema: { tags: ['queues'], summary: 'Forget a dead letter', params: idParameter, response: { 204: { description: 'Forgotten' } } },
    handler: async ({ params }, reply) => {
      const { id } = await required(params.id);
      if (!(await bus.takeDeadLetter(id, async () => undefined))) throw unknown();
      logger.info({ deadLetterId: id }, 'a dead letter was dropped');
      return reply.code(204).send();
    },
  });
}

/** Sorts as the letters come. */
const placeOf = ({ at, id }: Pick<DeadLetter, 'at' | 'id'>) => `${at} ${publicLetterId({ id })}`;
const cursorOf = (letter: DeadLetter) => Buffer.from(placeOf(letter)).toString('base64url');

function cursorPlace(cursor: string): string {
  const place = Buffer.from(cursor, 'base64url').toString('utf8');
  if (Buffer.from(place).toString('base64url') === cursor && / [A-Za-z0-9._:-]{1,100}$/.test(place)) return place;
  throw new Problem('QUERY_INVALID', 'cursor is not one that this service gave', {
    errors: [{ field: 'cursor', code: 'FIELD_INVALID', message: 'cursor is not one that this service gave' }],
  });
}
