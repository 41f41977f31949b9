/** The frontend's own settings, but for where the package is: that is installed here. */

import settings from "./example_app/frontend/vite.config.js";

export default { ...settings, resolve: {} };
