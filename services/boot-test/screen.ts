/** What a machine's screen says to a program: whether it changed, and the text of a text mode. Pure. */

/** A blinking cursor changes at most one cell of a text mode, 9 by 16 dots. */
const cursorDots = 9 * 16;

/** Two screens as PPM (P6). A screen of another size, or one that is no PPM, is another screen. */
export function hasChanged(before: Uint8Array | undefined, now: Uint8Array): boolean {
  if (before?.length !== now.length) return true;
  let dots = 0;
  for (let at = 0; at < now.length; at += 3) {
    if (before[at] === now[at] && before[at + 1] === now[at + 1] && before[at + 2] === now[at + 2]) continue;
    dots += 1;
    if (dots > cursorDots) return true;
  }
  return false;
}

/** Where the memory of a text mode begins, and how much of it 80 by 25 cells are: a letter and its colours for each. */
export const textMemory = { address: 0xb8000, columns: 80, rows: 25, bytes: 80 * 25 * 2 } as const;

export function textOf(memory: Uint8Array): string {
  const rows: string[] = [];
  for (let row = 0; row < textMemory.rows; row += 1) {
    const cells = memory.subarray(row * textMemory.columns * 2, (row + 1) * textMemory.columns * 2).filter((_, index) => index % 2 === 0);
    rows.push(
      [...cells]
        .map((code) => (code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : ' '))
        .join('')
        .trim(),
    );
  }
  return rows.filter((text) => text !== '').join('\n');
}
