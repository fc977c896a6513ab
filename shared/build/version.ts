/** The version of Spindle itself, for what it writes into files. A test holds it to package.json. Pure. */
export const spindleVersion = '0.1.0';
