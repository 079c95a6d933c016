const TASK_ROOT = process.env.LAMBDA_TASK_ROOT ?? '/var/task';
const RUNTIME_DIR = process.env.LAMBDA_RUNTIME_DIR ?? '/var/runtime';
// AWS's client is a file of this name; it shows in the `Require stack` of an error.
const load = require('module').createRequire(`${RUNTIME_DIR}/index.mjs`);

/**
 * Let `import` find what NODE_PATH lets `require` find, as on AWS. Where the sandbox mounts, folders on the way up from
 * the function do that; this is for where it cannot, and everything lies elsewhere.
 */
function importByNodePath() {
  if (TASK_ROOT === '/var/task') {
    return;
  }
  const module = require('module');
  if (module.registerHooks) {
    const { pathToFileURL } = require('url');
    module.registerHooks({
      resolve(specifier, context, next) {
        try {
          return next(specifier, context);
        } catch (error) {
          if (error.code !== 'ERR_MODULE_NOT_FOUND' || /^[./]/.test(specifier)) {
            throw error;
          }
          return { url: pathToFileURL(load.resolve(specifier)).href, shortCircuit: true };
        }
      },
    });
  } else {
    // Older ones have their hooks in a thread, as a module.
    module.register?.(`data:text/javascript,${encodeURIComponent(RESOLVER)}`);
  }
}

const RESOLVER = `
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
const load = createRequire('file:///var/runtime/index.mjs');
export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND' || /^[./]/.test(specifier)) throw error;
    return { url: pathToFileURL(load.resolve(specifier)).href, shortCircuit: true };
  }
}`;

/** The handler that `name` ("folder/module.export.path") means. */
async function loadHandler(name, root = TASK_ROOT) {
  if (name.includes('..')) {
    throw new RuntimeError(
      'MalformedHandlerName',
      `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const path = require('path');
  const base = path.basename(name);
  const folder = name.slice(0, name.indexOf(base));
  const dot = base.indexOf('.');
  if (dot < 0) {
    throw new RuntimeError('MalformedHandlerName', 'Bad handler');
  }
  const module = await loadModule(root, folder, base.slice(0, dot));
  const steps = base.slice(dot + 1).split('.');
  const find = (object) => steps.reduce((nested, key) => (nested ? nested[key] : undefined), object);
  const handler = find(module) || (MODERN ? find(module?.default) : undefined);
  if (!handler) {
    throw new RuntimeError('HandlerNotFound', `${name} is undefined or not exported`);
  }
  if (typeof handler !== 'function') {
    throw new RuntimeError('HandlerNotFound', `${name} is not a function`);
  }
  return handler;
}

async function loadModule(root, folder, name) {
  try {
    return await findModule(root, folder, name);
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new RuntimeError('UserCodeSyntaxError', String(error), error.stack);
    }
    if (error?.code === 'MODULE_NOT_FOUND') {
      throw new RuntimeError('ImportModuleError', String(error));
    }
    throw error;
  }
}

async function findModule(root, folder, name) {
  const path = require('path');
  const { existsSync } = require('fs');
  const file = path.resolve(root, folder, name);
  // A folder of that name is left to require.resolve, which knows index.js and package.json.
  if (isFile(file)) {
    return load(file);
  }
  if (existsSync(`${file}.js`)) {
    return isModule(path.dirname(file)) ? import(`${file}.js`) : loadScript(`${file}.js`);
  }
  if (existsSync(`${file}.mjs`)) {
    return import(`${file}.mjs`);
  }
  if (existsSync(`${file}.cjs`)) {
    return load(`${file}.cjs`);
  }
  return load(load.resolve(name, { paths: [root, path.join(root, folder)] }));
}

/** A `.js` file without `"type": "module"`. From Node.js 24 on it may turn out to be a module that only import loads. */
function loadScript(file) {
  try {
    return load(file);
  } catch (error) {
    if (MODERN && error?.code === 'ERR_REQUIRE_ASYNC_MODULE') {
      return import(file);
    }
    throw error;
  }
}

function isFile(path) {
  try {
    return require('fs').statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Whether the nearest package.json makes `.js` an ES module. */
function isModule(folder) {
  const { dirname, join } = require('path');
  const { existsSync, readFileSync } = require('fs');
  for (let at = folder; !at.endsWith('/node_modules'); at = dirname(at)) {
    const file = join(at, 'package.json');
    if (existsSync(file)) {
      try {
        return JSON.parse(readFileSync(file))?.type === 'module';
      } catch (error) {
        console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
        return false;
      }
    }
    if (at === '/') {
      break;
    }
  }
  return false;
}
