import { words } from '@/i18n/words'

export const messages = words(
  {
    live: 'Live: new lines come by themselves',
    ended: 'That is all of it',
    reading: 'Reading …',
    toEnd: 'To the newest line',
    again: 'Read again',
    filter: 'Show only lines with',
    dropped: 'The first {n} lines are not shown here.',
    nothing: 'Nothing was said.',
    nothingYet: 'Nothing was said yet.',
    noMatch: 'No line holds that.',
    download: 'Download',
  },
  {
    live: 'Live: neue Zeilen kommen von selbst',
    ended: 'Das ist alles',
    reading: 'Wird gelesen …',
    toEnd: 'Zur neuesten Zeile',
    again: 'Neu lesen',
    filter: 'Nur Zeilen mit',
    dropped: 'Die ersten {n} Zeilen stehen hier nicht.',
    nothing: 'Nichts wurde ausgegeben.',
    nothingYet: 'Noch wurde nichts ausgegeben.',
    noMatch: 'Keine Zeile enthält das.',
    download: 'Herunterladen',
  },
)
