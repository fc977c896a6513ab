/** The description of the REST interface, checked in: a reviewer sees what a change does to it, and it names every route that there is. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Fixture, fixture } from '../pipeline/rest-api-fixture.ts';
import { expectGolden } from '../support/golden.ts';

let f: Fixture;
beforeAll(async () => {
  f = await fixture();
});
afterAll(() => f.close());

test('the description is what the routes say', async () => {
  const document = (await f.app.inject('/openapi.json')).json();
  expect(document.openapi).toBe('3.1.0');
  expectGolden('test/golden/openapi.json', `${JSON.stringify(document, undefined, 1)}\n`);
});

test('every route is described, with problems, and every reference leads somewhere', async () => {
  const text = (await f.app.inject('/openapi.json')).body;
  const { paths, components } = JSON.parse(text) as {
    paths: Record<string, Record<string, { summary?: string; responses: object }>>;
    components: { schemas: object };
  };
  const routes = f.app.printRoutes({ commonPrefix: false, includeHooks: false });
  for (const path of ['/api/v1/builds', '/api/v1/groups', '/api/v1/resolve', '/api/v1/releases', '/api/v1/image-types', '/healthz', '/readyz'])
    expect(routes).toContain(path);
  // Which ones exactly is what the golden file holds.
  expect(Object.keys(paths).length).toBeGreaterThan(15);
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      expect(operation.summary, `${method} ${path}`).toMatch(/\w/);
      expect(operation.responses, `${method} ${path}`).toHaveProperty('default');
    }
  }
  const references = [...text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map((match) => match[1] ?? '');
  expect(references.length).toBeGreaterThan(10);
  for (const name of references) expect(Object.keys(components.schemas)).toContain(name);
});
