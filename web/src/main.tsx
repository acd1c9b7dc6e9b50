import { render } from "preact";
import { takeToken } from "./api.ts";
import { App } from "./app.tsx";
import "./style.css";

takeToken();
render(<App />, document.getElementById("app")!);
