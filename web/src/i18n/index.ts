// German and English. Each folder brings its own words (`messages.ts`, both languages side by side) and its components use them
// with `useWords`; what all share is in `i18n/shared.ts`. A test refuses a key that is missing, unused, or in one language only.
import { computed, type ComputedRef } from 'vue'
import { createI18n, useI18n } from 'vue-i18n'
import { shared } from './shared'
import type { Messages, Words } from './words'

export { words, type Messages, type Words } from './words'

export type Language = 'de' | 'en'

const KEY = 'hafen.language'

function preferred(): Language {
  const kept = localStorage.getItem(KEY)
  if (kept === 'de' || kept === 'en') return kept
  const first = navigator.languages.find((one) => /^(de|en)\b/.test(one))
  return first?.startsWith('de') ? 'de' : 'en'
}

export const i18n = createI18n({
  legacy: false,
  locale: preferred(),
  fallbackLocale: 'en',
  messages: shared as { en: Words; de: Words },
  missingWarn: false,
  fallbackWarn: false,
})

document.documentElement.lang = i18n.global.locale.value

export function setLanguage(language: Language): void {
  i18n.global.locale.value = language
  localStorage.setItem(KEY, language)
  document.documentElement.lang = language
}

export function useLanguage(): ComputedRef<Language> {
  return computed(() => i18n.global.locale.value as Language)
}

/** As vue-i18n's: a word by its key, with what stands in its braces; with a number, its plural. */
export interface Translate {
  (key: string, named?: Record<string, unknown>): string
  (key: string, plural: number, named?: Record<string, unknown>): string
}

/** The words of a folder, and below them the shared ones. Once in a component: vue-i18n keeps one local scope for each. */
export function useWords(messages: Messages): Translate {
  const composer = useI18n({ useScope: 'local', inheritLocale: true, messages: messages as { en: Words; de: Words } })
  return composer.t as unknown as Translate
}
