import { ref } from 'vue'
import { createRouter, createWebHistory, isNavigationFailure, NavigationFailureType } from 'vue-router'
import { tools } from './tools'
import { useSession } from './session/store'

declare module 'vue-router' {
  interface RouteMeta {
    /** Answered without a session. */
    open?: boolean
    /** Page of the guide, as docs/guide/LANGUAGE/NAME.md. */
    guide?: string
  }
}

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/sign-in', name: 'sign-in', component: () => import('./session/SignIn.vue'), meta: { open: true, guide: 'sign-in' } },
    { path: '/invitation', name: 'invitation', component: () => import('./session/Invitation.vue'), meta: { open: true, guide: 'sign-in' } },
    {
      path: '/',
      component: () => import('./shell/Shell.vue'),
      children: [
        ...tools.flatMap((tool) => tool.routes),
        { path: '/:rest(.*)*', name: 'missing', component: () => import('./shell/NotFound.vue') },
      ],
    },
  ],
  scrollBehavior: (_to, _from, saved) => saved ?? { top: 0 },
})

router.beforeEach(async (to) => {
  if (to.meta.open) return true
  const session = useSession()
  if (!session.known) await session.load()
  // Without an answer the shell says so, and goes on when there is one.
  if (session.signedIn || session.problem) return true
  return { name: 'sign-in', query: to.fullPath === '/' ? {} : { to: to.fullPath } }
})

/** Where one wanted to go when the script of that screen could not be fetched. */
export const unreached = ref<string>()

const FETCHED_ANEW = 'hafen.fetched-anew'

/** Goes there by fetching the page itself anew: a browser may keep that a script failed, and a newer platform names its scripts otherwise. */
export async function fetchAnew(path: string): Promise<void> {
  try {
    if (!(await fetch('/', { method: 'HEAD', cache: 'no-store' })).ok) return
  } catch {
    return
  }
  sessionStorage.setItem(FETCHED_ANEW, path)
  location.assign(path)
}

router.onError((_error, to) => {
  unreached.value = to.fullPath
  // Once: what is still missing in a page just fetched does not come by fetching it again.
  if (sessionStorage.getItem(FETCHED_ANEW) !== to.fullPath) void fetchAnew(to.fullPath)
})
router.afterEach((_to, _from, failure) => {
  // Back to where one is, is somewhere.
  if (failure && !isNavigationFailure(failure, NavigationFailureType.duplicated)) return
  unreached.value = undefined
  sessionStorage.removeItem(FETCHED_ANEW)
})

/** Where to go after signing in: only to our own pages. */
export function ownPage(to: unknown): string {
  return typeof to === 'string' && /^\/(?![/\\])/.test(to) ? to : '/'
}
