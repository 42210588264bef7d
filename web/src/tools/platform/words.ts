import { words } from '@/i18n/words'

export const platformWords = words(
  {
    title: 'Platform',
    home: 'Home',
    map: 'Map',
    machines: 'Machines',
    plan: 'Plan',
    apps: 'Apps',
    routes: 'Routes',
    access: 'Access',
    people: 'People',
    ledger: 'Ledger',
    account: 'Account',
  },
  {
    title: 'Plattform',
    home: 'Übersicht',
    map: 'Karte',
    machines: 'Maschinen',
    plan: 'Plan',
    apps: 'Apps',
    routes: 'Routen',
    access: 'Zugang',
    people: 'Menschen',
    ledger: 'Hauptbuch',
    account: 'Konto',
  },
)
