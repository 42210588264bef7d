import { fileURLToPath } from 'node:url'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'

const platform = process.env.HAFEN_URL ?? 'http://127.0.0.1:4750'

export default defineConfig({
  plugins: [vue()],
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  define: {
    __VUE_I18N_LEGACY_API__: 'false',
    __VUE_I18N_FULL_INSTALL__: 'false',
    __INTLIFY_PROD_DEVTOOLS__: 'false',
  },
  build: {
    target: 'es2022',
    manifest: true,
    // Everything is fetched from where the page came from; nothing is inlined that the policy of the page would refuse.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
  server: {
    hmr: { overlay: false },
    // The guide, and what tests hold the console against, lie beside this folder.
    fs: { allow: ['..'] },
    proxy: Object.fromEntries(
      ['/api', '/oauth', '/.well-known', '^/ledger/', '^/hooks/', '/health'].map((path) => [path, { target: platform, ws: true }]),
    ),
  },
})
