/** The word for a state, or none for a state that this console does not know yet; `StateTag` then shows what it can. */
export const known = (word: string, state: string): string | undefined => (word.endsWith(`.${state}`) ? undefined : word)
