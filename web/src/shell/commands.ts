// What the palette knows, and how a typed text finds it.
export interface Command {
  id: string
  label: string
  /** What it is, where the name alone does not say. */
  hint: string
  run: () => void
}

const plain = (text: string): string => text.toLocaleLowerCase().normalize('NFD').replaceAll(/\p{M}/gu, '')

/** Those whose label or hint holds every word that was typed; labels that begin with the text come first. */
export function matches(commands: readonly Command[], text: string): Command[] {
  const words = plain(text).split(/\s+/).filter(Boolean)
  if (words.length === 0) return [...commands]
  const whole = words.join(' ')
  const rank = (command: Command): number => {
    const label = plain(command.label)
    if (label === whole) return 0
    if (label.startsWith(whole)) return 1
    return label.includes(whole) ? 2 : 3
  }
  return commands
    .filter((command) => words.every((word) => plain(`${command.label} ${command.hint}`).includes(word)))
    .map((command, index) => ({ command, index, rank: rank(command) }))
    .sort((a, b) => a.rank - b.rank || a.index - b.index)
    .map((one) => one.command)
}
