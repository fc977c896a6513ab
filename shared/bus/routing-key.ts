/** AMQP's topic rules: words joined by dots; in a binding `*` is one word and `#` any number of them, none included. Pure. */

/** Of AMQP: a short string. */
const bytesMax = 255;

export function isRoutingKey(key: string): boolean {
  return Buffer.byteLength(key) <= bytesMax;
}

/** As brokers do it: the empty text has no words, and two dots in a row hold an empty one. */
function words(key: string): readonly string[] {
  return key === '' ? [] : key.split('.');
}

export function routingKeyMatches(binding: string, routingKey: string): boolean {
  const key = words(routingKey);
  // reached[n]: the pattern so far can stand for the first n words. No backtracking, so no binding is slow.
  let reached = key.map(() => false);
  reached.unshift(true);
  for (const word of words(binding)) {
    const next: boolean[] = [];
    for (let count = 0; count <= key.length; count += 1) {
      if (word === '#') next.push(reached[count] === true || next[count - 1] === true);
      else next.push(count > 0 && reached[count - 1] === true && (word === '*' || word === key[count - 1]));
    }
    reached = next;
  }
  return reached[key.length] === true;
}
