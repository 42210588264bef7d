// What may leave a network, as a person writes it: one destination a line.
import type { Schemas } from '@/api/client'

export type Rule = 'none' | 'logged' | 'allow'

export function ruleOf(egress: Schemas['Egress']): Rule {
  return typeof egress === 'string' ? egress : 'allow'
}

export function linesOf(egress: Schemas['Egress']): string {
  return typeof egress === 'string' ? '' : egress.allow.join('\n')
}

export function egressOf(rule: Rule, lines: string): Schemas['Egress'] {
  if (rule !== 'allow') return rule
  return { allow: lines.split(/[\s,]+/).filter((line) => line !== '') }
}
