/** XML-RPC: what is written is read back, Koji's odd forms are read, and what is malformed or too large is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeCall, decodeResponse, encodeCall, encodeFault, encodeResponse, withKeywords, XmlRpcError, type XmlRpcValue } from '../../shared/koji/xml-rpc.ts';

const answer = (inner: string) => `<?xml version='1.0'?><methodResponse><params><param>${inner}</param></params></methodResponse>`;
const read = (inner: string) => {
  const response = decodeResponse(answer(inner));
  return 'value' in response ? response.value : response;
};

const text = fc.string({ unit: 'grapheme', maxLength: 30 }).filter((each) => !/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff\ud800-\udfff]/u.test(each));
const value: fc.Arbitrary<XmlRpcValue> = fc.letrec<{ value: XmlRpcValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.maxSafeInteger().filter((each) => !Object.is(each, -0)),
    fc.double({ noNaN: true, noDefaultInfinity: true }).filter((each) => !Number.isInteger(each)),
    text,
    fc.uint8Array({ maxLength: 20 }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(text, tie('value'), { maxKeys: 4 }),
  ),
})).value;

describe('round trips', () => {
  it('reads back every value that it writes', () => {
    fc.assert(
      fc.property(value, (each) => {
        expect(decodeResponse(encodeResponse(each))).toEqual({ value: each });
      }),
      { numRuns: 300 },
    );
  });

  it('carries calls with keyword arguments the way Koji does', () => {
    const call = encodeCall('getLatestBuilds', ['f44-updates-testing'], { package: 'bash' });
    expect(call).toContain('<name>__starstar</name>');
    expect(decodeCall(call)).toEqual({ method: 'getLatestBuilds', args: ['f44-updates-testing'], keywords: { package: 'bash' } });
    expect(decodeCall(encodeCall('getAPIVersion', []))).toEqual({ method: 'getAPIVersion', args: [], keywords: {} });
    expect(withKeywords({ strict: true })).toEqual({ strict: true, __starstar: true });
  });

  it('carries faults, times and integers of 64 bits', () => {
    expect(decodeResponse(encodeFault({ code: 1014, text: 'database outage' }))).toEqual({ fault: { code: 1014, text: 'database outage' } });
    expect(read('<value><dateTime.iso8601>20261122T01:02:03</dateTime.iso8601></value>')).toEqual(new Date('2026-11-22T01:02:03Z'));
    expect(decodeResponse(encodeResponse(2n ** 63n - 1n))).toEqual({ value: 2n ** 63n - 1n });
    expect(encodeResponse(2 ** 31)).toContain('<i8>2147483648</i8>');
    expect(encodeResponse(2 ** 31 - 1)).toContain('<int>2147483647</int>');
  });
});

describe('reading', () => {
  it('takes a value without a type as a string', () => {
    expect(read('<value>a &amp; b</value>')).toBe('a & b');
    expect(read('<value></value>')).toBe('');
    expect(read('<value> <nil/> </value>')).toBeNull();
    expect(read('<value><string><![CDATA[<x>]]></string></value>')).toBe('<x>');
  });

  it('keeps a member called __proto__ an ordinary member', () => {
    const struct = read('<value><struct><member><name>__proto__</name><value><int>1</int></value></member></struct></value>');
    expect(Object.keys(struct as object)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(struct)).toBe(Object.prototype);
  });

  it.each([
    ['a document type', `<!DOCTYPE a [<!ENTITY x "y">]>${answer('<value>1</value>')}`, /document type/],
    ['an unknown entity', answer('<value>&x;</value>'), /not well-formed/],
    ['HTML', '<html><body>Making sure you are not a bot</body></html>', /<html>/],
    ['half an answer', answer('<value><int>1</int></value>').slice(0, 90), /not well-formed/],
    ['nothing', '', /well-formed|empty/],
    ['no value', '<methodResponse><params></params></methodResponse>', /0 values/],
    ['two values', '<methodResponse><params><param><value/></param><param><value/></param></params></methodResponse>', /2 values/],
    ['text between elements', answer('x<value>1</value>'), /text in/],
    ['text beside an element', answer('<value>x<int>1</int></value>'), /beside/],
    ['an integer of letters', answer('<value><int>0x10</int></value>'), /"0x10" as int/],
    ['an integer beyond 64 bits', answer('<value><i8>9223372036854775808</i8></value>'), /as i8/],
    ['a boolean of letters', answer('<value><boolean>true</boolean></value>'), /as boolean/],
    ['broken base64', answer('<value><base64>a$b=</base64></value>'), /as base64/],
    ['a day that does not exist', answer('<value><dateTime.iso8601>20261322T01:02:03</dateTime.iso8601></value>'), /as dateTime/],
    ['a double that is none', answer('<value><double>inf</double></value>'), /as double/],
    ['a member without a name', answer('<value><struct><member><value>1</value></member></struct></value>'), /without a name/],
    ['a fault without a code', '<methodResponse><fault><value>no</value></fault></methodResponse>', /without code/],
    ['a call in place of an answer', encodeCall('getBuild', [1]), /not an XML-RPC answer/],
  ])('refuses %s', (_, document, reason) => {
    expect(() => decodeResponse(document)).toThrow(XmlRpcError);
    expect(() => decodeResponse(document)).toThrow(reason);
  });

  it('keeps its limits', () => {
    const deep = answer(`${'<value><array><data>'.repeat(200)}${'</data></array></value>'.repeat(200)}`);
    expect(() => decodeResponse(deep)).toThrow(/nested more than 100/);
    const wide = encodeResponse(Array.from({ length: 50 }, () => 1));
    expect(() => decodeResponse(wide, { elementsMax: 40 })).toThrow(/more than 40 elements/);
    expect(() => decodeResponse(wide, { lengthMax: 100 })).toThrow(/at most 100/);
  });
});

describe('writing', () => {
  it('refuses what XML-RPC cannot carry', () => {
    expect(() => encodeCall('getBuild', ['a\u0000b'])).toThrow(XmlRpcError);
    expect(() => encodeCall('getBuild', ['\ud800'])).toThrow(XmlRpcError);
    expect(() => encodeResponse(Number.NaN)).toThrow(XmlRpcError);
    expect(() => encodeResponse(2n ** 63n)).toThrow(XmlRpcError);
  });

  it('cannot be made to write markup', () => {
    expect(decodeCall(encodeCall('getBuild', ['</string></value><value><int>1']))).toMatchObject({ args: ['</string></value><value><int>1'] });
  });
});
