// What actions let one do and rules say, in German; the API says it in English. A test holds both tables against the policy.
import { useLanguage } from '@/i18n'

/** After "may …", as the API has it: what stands here follows "darf". */
export const ACTIONS: Readonly<Record<string, string>> = {
  'platform.read': 'sehen, wie es der Plattform geht, und die Beschreibung ihrer API',
  'project.read': 'Projekte und ihre Quotas sehen',
  'project.write': 'Projekte anlegen und ihre Quotas setzen',
  'project.delete': 'Projekte beenden',
  'network.read': 'Netze sehen',
  'network.write': 'Netze anlegen und ändern, wohin sie hinausdürfen',
  'network.delete': 'Netze beenden',
  'image.read': 'Images sehen',
  'image.write': 'Images bauen und prüfen',
  'image.delete': 'Images löschen',
  'image.gc': 'freigeben, was kein Image mehr braucht',
  'machine.read': 'Maschinen und ihre seriellen Protokolle sehen',
  'machine.write': 'Maschinen anlegen und ändern',
  'machine.run': 'Maschinen starten, anhalten und neu starten',
  'machine.rebuild': 'Maschinen eine frische Platte geben, oder eine frühere zurück',
  'machine.delete': 'Maschinen löschen',
  'machine.reach': 'sich mit jedem Port und der Konsole von Maschinen verbinden',
  'machine.ssh': 'sich per SSH durch die Bastion auf Maschinen anmelden',
  'snapshot.read': 'Snapshots sehen',
  'snapshot.write': 'Snapshots machen und löschen',
  'publication.read': 'sehen, was veröffentlicht ist',
  'publication.write': 'Ports auf dem Host veröffentlichen',
  'route.read': 'sehen, wohin Hosts führen',
  'route.write': 'bestimmen, wohin Hosts führen, und Hosts zurücknehmen',
  'backend.read': 'sehen, was Anfragen beantwortet und wie es ihm geht',
  'backend.write': 'bestimmen, was Anfragen beantwortet',
  'certificate.read': 'die Zertifikate von Hosts sehen',
  'certificate.renew': 'Zertifikate sofort erneuern lassen',
  'operation.read': 'Vorgänge sehen',
  'operation.cancel': 'Vorgänge abbrechen',
  'event.read': 'sehen, was geschieht',
  'stack.read': 'Pläne, Ausführungen und Abweichungen sehen',
  'stack.plan': 'Pläne machen',
  'stack.apply': 'Pläne ausführen und Ausführungen abbrechen',
  'repository.read': 'Repositorys sehen und holen',
  'repository.push': 'in Repositorys pushen, soweit ihre Branches es zulassen',
  'repository.create': 'Repositorys anlegen',
  'repository.write': 'Repositorys, ihre geschützten Branches und Deploy-Schlüssel ändern',
  'repository.delete': 'Repositorys löschen, mit allem, was hineingeschoben wurde',
  'hook.read': 'Hooks sehen, und was sie aufrief',
  'hook.write': 'Hooks anlegen und beenden',
  'secret.list': 'sehen, welche Geheimnisse es gibt, aber nie, was darin steht',
  'secret.write': 'Geheimnisse anlegen und ihnen neue Werte geben',
  'secret.read': 'mit Angabe eines Grundes lesen, was in Geheimnissen steht',
  'secret.delete': 'Geheimnisse und alte Versionen davon vernichten',
  'app.read': 'Apps und ihre Prozesse sehen',
  'app.write': 'Apps anlegen und ändern',
  'app.delete': 'Apps löschen',
  'app.deploy': 'Apps ausrollen, zurückrollen, vervielfachen und neu starten',
  'app.logs': 'lesen, was Apps ausgeben',
  'app.exec': 'Befehle ausführen, wo Apps laufen',
  'build.read': 'Builds, ihre Protokolle und ihre Herkunft sehen',
  'release.read': 'Releases sehen',
  'deployment.read': 'Deployments sehen',
  'ledger.read': 'das Hauptbuch lesen und prüfen',
  'ledger.erase': 'einen Menschen aus dem Hauptbuch tilgen',
  'access.read': 'SSH-Sitzungen und Warnungen dazu sehen',
  'access.connect': 'SSH-Zertifikate bekommen, die auch ohne die Bastion gelten',
  'access.revoke': 'SSH-Sitzungen und Zertifikate beenden',
  'access.check': 'die Zugänge in Maschinen prüfen lassen',
  'access.accept': 'gutheißen, was sich an den Zugängen in Maschinen geändert hat',
  'account.self': 'das eigene Konto sehen und ändern',
  'people.read': 'sehen, wer dazugehört',
  'people.write': 'Menschen einladen, ändern und entfernen',
  'team.write': 'Teams anlegen, ändern, und bestimmen, wer dazugehört',
  'token.write': 'Tokens von Dienstkonten anlegen und beenden',
  'policy.read': 'fragen, welche Regel entscheidet',
  'organisation.write': 'die Organisation ändern',
}

/** Of the platform's own rules, by their names. */
export const RULES: Readonly<Record<string, string>> = {
  'viewers-read': 'Ein Betrachter darf im Projekt alles ansehen außer Geheimnissen.',
  'auditors-audit': 'Ein Prüfer darf Hauptbuch, Sitzungen und Regeln lesen.',
  'developers-deploy': 'Ein Entwickler darf pushen, planen, Pläne ausführen, neu starten, was läuft, Geheimnisse setzen und sich auf Maschinen anmelden.',
  'operators-operate': 'Ein Operator darf Maschinen, Images und Snapshots anlegen, ändern und erreichen, und Geheimnisse lesen.',
  'maintainers-maintain': 'Ein Maintainer darf Maschinen löschen, Netze, Repositorys und Veröffentlichtes ändern, und Quotas setzen.',
  'owners-own': 'Ein Eigentümer darf Projekte gründen und beenden, und entscheidet, wer dazugehört.',
  'everybody-minds-their-own': 'Wer angemeldet ist, darf das eigene Konto sehen und ändern.',
  'the-local-operator-may-all': 'Wem der Ordner der Plattform auf ihrem Host gehört, der darf alles: die Dateien sind ohnehin seine.',
  'the-platform-may-all': 'Die Plattform selbst führt aus, was sich jemand wünschen durfte.',
  'tokens-keep-to-their-scope': 'Ein Token darf nur das, wofür es gemacht wurde.',
  'persons-prove-two-factors': 'Ein Mensch meldet sich mit zwei Faktoren an.',
  'danger-asks-again': 'Was sich nicht rückgängig machen lässt, fragt einen Menschen noch einmal nach dem zweiten Faktor.',
}

export interface Tells {
  action: (action: { name: string; tells: string }) => string
  rule: (rule: { id: string; tells: string }) => string
}

function ruleInGerman(id: string): string | undefined {
  const own = /^role-(.+)$/.exec(id)?.[1]
  return own ? `Die Rolle ${own} dieser Organisation darf es.` : RULES[id]
}

/** In the reader's language; what a newer platform has that this console does not know, as the platform says it. */
export function useTells(): Tells {
  const language = useLanguage()
  const german = (): boolean => language.value === 'de'
  return {
    action: ({ name, tells }) => (german() ? (ACTIONS[name] ?? tells) : tells),
    rule: ({ id, tells }) => (german() ? (ruleInGerman(id) ?? tells) : tells),
  }
}
