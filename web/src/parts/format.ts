// Numbers, sizes and times as people of the chosen language write them.
import { useNow } from './now'
import { useLanguage } from '@/i18n'
import { i18n } from '@/i18n'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['second', 60],
  ['minute', 60],
  ['hour', 24],
  ['day', 30],
  ['month', 12],
  ['year', Number.POSITIVE_INFINITY],
]

/** Making one of these takes longer than using it a hundred times. */
const formats = new Map<string, Intl.NumberFormat | Intl.DateTimeFormat>()
function formatOf<F extends Intl.NumberFormat | Intl.DateTimeFormat>(kind: string, language: string, make: () => F): F {
  const key = `${kind}/${language}`
  const known = formats.get(key) as F | undefined
  if (known) return known
  const made = make()
  formats.set(key, made)
  return made
}
const digitsOf = (language: string, most: number): Intl.NumberFormat =>
  formatOf(`digits-${most}`, language, () => new Intl.NumberFormat(language, { maximumFractionDigits: most }))
const timesOf = (language: string, kind: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat =>
  formatOf(kind, language, () => new Intl.DateTimeFormat(language, options))

export function bytesText(bytes: number, language: string): string {
  let value = bytes
  let unit = 0
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  const digits = value >= 100 || Number.isInteger(value) ? 0 : 1
  return `${digitsOf(language, digits).format(value)} ${UNITS[unit]}`
}

export function agoText(at: Date, now: Date, language: string, justNow: string): string {
  let value = (at.getTime() - now.getTime()) / 1000
  if (Math.abs(value) < 5) return justNow
  const relative = new Intl.RelativeTimeFormat(language, { numeric: 'auto' })
  for (const [unit, size] of STEPS) {
    if (Math.abs(value) < size) return relative.format(Math.round(value), unit)
    value /= size
  }
  return relative.format(Math.round(value), 'year')
}

export function durationText(ms: number, language: string): string {
  const seconds = ms / 1000
  const number = (value: number, digits: number): string => digitsOf(language, digits).format(value)
  if (seconds < 1) return `${number(ms, 0)} ms`
  if (seconds < 60) return `${number(seconds, 1)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${number(Math.floor(seconds % 60), 0)} s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
  return `${number(Math.floor(seconds / 86_400), 0)} d ${Math.floor((seconds % 86_400) / 3600)} h`
}

export interface Format {
  bytes: (bytes: number) => string
  number: (value: number) => string
  /** Date and time to the second. */
  dateTime: (at: string | Date) => string
  date: (at: string | Date) => string
  time: (at: string | Date) => string
  /** How long ago, or until; goes on by itself. */
  ago: (at: string | Date) => string
  duration: (ms: number) => string
}

const date = (at: string | Date): Date => (at instanceof Date ? at : new Date(at))

export function useFormat(): Format {
  const language = useLanguage()
  const now = useNow()
  return {
    bytes: (bytes) => bytesText(bytes, language.value),
    number: (value) => digitsOf(language.value, 3).format(value),
    dateTime: (at) => timesOf(language.value, 'both', { dateStyle: 'medium', timeStyle: 'medium' }).format(date(at)),
    date: (at) => timesOf(language.value, 'date', { dateStyle: 'medium' }).format(date(at)),
    time: (at) => timesOf(language.value, 'time', { timeStyle: 'medium' }).format(date(at)),
    ago: (at) => agoText(date(at), now.value, language.value, i18n.global.t('time.now')),
    duration: (ms) => durationText(ms, language.value),
  }
}
