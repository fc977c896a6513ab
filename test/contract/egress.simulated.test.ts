/** The egress contract on the simulated network. */
import { SpindleError } from '../../shared/build/failure.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { type SimulatedRoutes, simulatedEgress } from '../../shared/egress/simulated.ts';
import { egressContract, partAnswer } from './egress.contract.ts';

const routes: SimulatedRoutes = ({ url, method, headers, body }) => {
  if (url.host !== 'site.example') return undefined;
  const hops = /^\/hop\/(\d+)$/.exec(url.pathname)?.[1];
  if (hops !== undefined) return hops === '0' ? { body: 'arrived' } : { status: 302, headers: { location: `/hop/${Number(hops) - 1}` } };
  const part = /^\/part\/(.+)$/.exec(url.pathname)?.[1];
  if (part !== undefined) return partAnswer(part, { range: headers['range'], ifRange: headers['if-range'] });
  switch (url.pathname) {
    case '/text':
      return { headers: { 'content-type': 'text/plain' }, body: 'hello' };
    case '/echo':
      return { body: `${method} ${headers['content-type']} ${body}` };
    case '/to-file':
      return { status: 301, headers: { location: 'file:///etc/passwd' } };
    case '/moved':
      return { status: 302, headers: { location: '/text' } };
    case '/kept':
      return { status: 307, headers: { location: '/echo' } };
    case '/ranged': {
      const [, first = '0', last = '0'] = /^bytes=(\d+)-(\d+)$/.exec(headers['range'] ?? '') ?? [];
      const body = '0123456789'.slice(Number(first), Number(last) + 1);
      return { status: 206, headers: { 'content-range': `bytes ${first}-${Math.min(Number(last), 9)}/10` }, body };
    }
    case '/other-range':
      return { status: 206, headers: { 'content-range': 'bytes 5-9/10' }, body: '56789' };
    case '/announced':
    case '/unannounced':
      return { body: 'x'.repeat(5000) };
    case '/stalls':
      return new Promise(() => {});
    case '/cut':
      throw new SpindleError('REMOTE_UNREACHABLE', 'the connection was cut');
    default:
      return { status: 404, body: 'not here' };
  }
};

egressContract('simulated', async () => {
  const written = new Map<string, Uint8Array>();
  return {
    egress: simulatedEgress({
      routes,
      clock: systemClock(),
      write: (path, content) => written.set(path, content),
      read: (path) => written.get(path),
      remove: (path) => written.delete(path),
    }),
    base: 'http://site.example',
    nobody: 'http://nobody.example/',
    pathOf: (name) => `/${name}`,
    read: async (path) => written.get(path),
  };
});
