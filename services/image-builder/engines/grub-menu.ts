/** The menu with which GRUB starts a medium. Pure. */

export interface MenuEntry {
  /** Holds no quotes. */
  readonly title: string;
  /** The kernel's command line. */
  readonly options: string;
}

export interface Medium {
  /** After this the first entry starts by itself. */
  readonly timeoutS: number;
  /** Paths on the medium. */
  readonly kernel: string;
  readonly initramfs: string;
}

/** It is shown on the screen and on the serial line, if there is one. The medium is found by its label: what UEFI starts stands on a file system of its own. */
export function grubMenu(label: string, { timeoutS, kernel, initramfs }: Medium, entries: readonly MenuEntry[]): string {
  return `if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set default=0
set timeout=${timeoutS}
search --no-floppy --set=root --label '${label}'
${entries
  .map(
    ({ title, options }) => `menuentry '${title.replaceAll("'", '')}' {
  linux ${kernel} ${options}
  initrd ${initramfs}
}
`,
  )
  .join('')}`;
}
