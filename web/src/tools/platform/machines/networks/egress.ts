// What a network lets out, as a form and as the API has it.
import type { Schemas } from '@/api/client'

export type Egress = Schemas['Egress']
export type EgressKind = 'none' | 'logged' | 'allow'

export function kindOf(egress: Egress): EgressKind {
  return typeof egress === 'string' ? egress : 'allow'
}

export function destinationsOf(egress: Egress): string[] {
  return typeof egress === 'string' ? [] : egress.allow
}

export function egressOf(kind: EgressKind, lines: string): Egress {
  return kind === 'allow' ? { allow: [...new Set(lines.split(/[\s,]+/).filter(Boolean))] } : kind
}
