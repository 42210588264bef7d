// A failure in the reader's language: what the code means, and what the platform says besides. It says it in English; only that names
// what exactly stood in the way, so that it is kept.
import { useI18n } from 'vue-i18n'
import type { Problem } from '@/api/problem'
import { useLanguage } from '@/i18n'

export interface Told {
  text: string
  /** In English. */
  besides: string
}

export function useTold(): (problem: Problem) => Told {
  const { t, te } = useI18n({ useScope: 'global' })
  const language = useLanguage()
  return ({ code, message }) => {
    const key = `problem.${code}`
    const known = te(key, 'en')
    if (message && (language.value === 'en' || !known)) return { text: message, besides: '' }
    return { text: known ? t(key) : t('problem.unexpected'), besides: message }
  }
}
