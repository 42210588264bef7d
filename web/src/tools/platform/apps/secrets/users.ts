// Who names a secret: in the environment of an app, in that of its build, or as the token of its source.
import type { Schemas } from '@/api/client'

type Spec = Schemas['AppSpec']

export function namesSecret(spec: Spec, secret: string): boolean {
  const values: unknown[] = [...Object.values(spec.env ?? {}), ...Object.values(spec.build?.env ?? {}), spec.source.token]
  return values.some((value) => typeof value === 'object' && value !== null && 'secret' in value && value.secret === secret)
}
