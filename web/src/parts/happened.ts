// What happened, in the reader's language: the platform tells it in English, as it stands in its records. A kind's own sentence is
// written here; what the platform says besides is kept where it tells more: why something failed, what exactly changed.
import { useLanguage, type Language } from '@/i18n'
import { englishOfTerse, german, operations, telling } from './happenings'
import type { Told } from './told'

export interface Happened {
  kind: string
  /** `machine/web-1` */
  object?: string | null
  message: string
}

export function happened({ kind, object: of, message }: Happened, language: Language): Told {
  const sentence = (language === 'de' ? german : englishOfTerse)[kind]
  if (sentence === undefined) return { text: message, besides: '' }
  const object = of ?? ''
  const name = object.slice(object.indexOf('/') + 1)
  // The names may hold what replacements are written with.
  const text = sentence.replace(/\{(name|message)\}/g, (_all, which) => (which === 'name' ? name : message))
  const more = language === 'de' && telling.has(kind) && message !== '' && !sentence.includes('{message}')
  return { text, besides: more ? message : '' }
}

export function useHappened(): (event: Happened) => Told {
  const language = useLanguage()
  return (event) => happened(event, language.value)
}

/** What an operation does; its kind where that is not known. */
export function useOperationName(): (kind: string) => string {
  const language = useLanguage()
  return (kind) => operations[kind]?.[language.value] ?? kind
}
