import { render } from "preact";
import { takeToken, watchToken } from "./api.ts";
import { App } from "./app.tsx";
import "./style.css";

watchToken();
await takeToken();
render(<App />, document.getElementById("app")!);
