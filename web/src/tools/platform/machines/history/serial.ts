/** Text of a serial log as it can be read: without the sequences that move a cursor or set colours, and other control characters. */
export function readable(line: string): string {
  return line
    // eslint-disable-next-line no-control-regex -- these are what is looked for
    .replace(/\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g, '')
    // eslint-disable-next-line no-control-regex -- these are what is looked for
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '')
}
