// What words are; apart from the plugin, so that tests and message files need nothing of it.
export type Words = { [key: string]: string | Words }
type Same<T> = { [K in keyof T]: T[K] extends string ? string : Same<T[K]> }
export interface Messages<T extends Words = Words> {
  en: T
  de: Same<T>
}

/** Types the German words after the English ones, so that neither lacks a key of the other. */
export function words<T extends Words>(en: T, de: Same<T>): Messages<T> {
  return { en, de }
}
