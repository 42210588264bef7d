// The words of the picture in the reader's language.
import { computed, type ComputedRef } from 'vue'
import { useI18n } from 'vue-i18n'
import { useLanguage, type Translate } from '@/i18n'
import type { MapWords } from './drawing'

/** `t` has the words of this folder. */
export function useMapWords(t: Translate): ComputedRef<MapWords> {
  const shared = useI18n({ useScope: 'global' })
  const language = useLanguage()
  const number = (value: number): string => value.toLocaleString(language.value, { maximumFractionDigits: value < 10 ? 1 : 0 })
  return computed(() => ({
    language: language.value,
    state: (state) => (state === 'empty' ? t('state.empty') : shared.te(`states.${state}`) ? shared.t(`states.${state}`) : state),
    certificate: (state) => (['ready', 'pending', 'failed'].includes(state) ? t(`certificate.${state}`) : t('certificate.other', { state })),
    tone: (tone, n) => t(`counted.${tone}`, n, { n: number(n) }),
    machines: (n) => t('machines', n, { n: number(n) }),
    egress: (egress) => (egress === 'none' ? t('egressNone') : egress === 'logged' ? t('egressLogged') : t('egressAllow', egress, { n: egress })),
    rate: (perSecond) => t('rate', { n: number(perSecond) }),
    inFlight: (n) => t('inFlight', { n: number(n) }),
    release: (n) => t('release', { n }),
    more: (n) => t('more', { n: number(n) }),
    singles: t('singles'),
    maintenance: t('maintenance'),
    publication: t('published'),
    backend: t('backend'),
  }))
}
