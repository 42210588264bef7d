// The platform itself: projects, machines, plans, apps, and who may do what with them.
import { Anchor, AppWindow, BookCheck, FileDiff, House, KeyRound, Map as MapIcon, Route, Server, Users } from '@lucide/vue'
import type { Tool } from '..'
import { platformWords } from './words'

const project = (rest: string) => (name: string) => `/projects/${name}${rest}`

export const platform: Tool = {
  id: 'platform',
  icon: Anchor,
  home: '/',
  messages: platformWords,
  sections: [
    { id: 'home', title: 'home', icon: House, to: () => '/', of: 'organisation' },
    { id: 'map', title: 'map', icon: MapIcon, to: project(''), of: 'project', needs: 'project.read' },
    { id: 'machines', title: 'machines', icon: Server, to: project('/machines'), of: 'project', needs: 'machine.read' },
    { id: 'plan', title: 'plan', icon: FileDiff, to: project('/plan'), of: 'project', needs: 'stack.read' },
    { id: 'apps', title: 'apps', icon: AppWindow, to: project('/apps'), of: 'project', needs: 'app.read' },
    { id: 'routes', title: 'routes', icon: Route, to: project('/routes'), of: 'project', needs: 'route.read' },
    { id: 'access', title: 'access', icon: KeyRound, to: () => '/access', of: 'organisation', needs: 'access.read', anywhere: true },
    { id: 'people', title: 'people', icon: Users, to: () => '/people', of: 'organisation', needs: 'people.read' },
    { id: 'ledger', title: 'ledger', icon: BookCheck, to: () => '/ledger-entries', of: 'organisation', needs: 'ledger.read', anywhere: true },
  ],
  routes: [
    { path: '/', name: 'home', component: () => import('./home/Home.vue'), meta: { guide: 'home' } },
    { path: '/projects/:project', name: 'map', component: () => import('./map/ProjectMap.vue'), props: true, meta: { guide: 'map' } },
    { path: '/projects/:project/machines', name: 'machines', component: () => import('./machines/Machines.vue'), props: true, meta: { guide: 'machines' } },
    { path: '/projects/:project/machines/:machine', name: 'machine', component: () => import('./machines/Machine.vue'), props: true, meta: { guide: 'machine' } },
    { path: '/projects/:project/plan', name: 'plan', component: () => import('./plan/Plan.vue'), props: true, meta: { guide: 'plan' } },
    { path: '/projects/:project/apps', name: 'apps', component: () => import('./apps/Apps.vue'), props: true, meta: { guide: 'apps' } },
    { path: '/projects/:project/apps/:app', name: 'app', component: () => import('./apps/App.vue'), props: true, meta: { guide: 'app' } },
    { path: '/projects/:project/routes', name: 'routes', component: () => import('./routes/Routes.vue'), props: true, meta: { guide: 'routes' } },
    { path: '/access', name: 'access', component: () => import('./access/Access.vue'), meta: { guide: 'access' } },
    { path: '/people', name: 'people', component: () => import('./people/People.vue'), meta: { guide: 'people' } },
    { path: '/ledger-entries', name: 'ledger', component: () => import('./ledger/Ledger.vue'), meta: { guide: 'ledger' } },
    { path: '/account', name: 'account', component: () => import('./account/Account.vue'), meta: { guide: 'account' } },
  ],
}
