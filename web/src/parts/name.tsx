import { cut, shown } from "../format.ts";

// Name is what somebody else named: text of any length and content.
export function Name({ of, href, most = 60, class: style }: { of: string; href?: string; most?: number; class?: string }) {
  const whole = shown(of);
  const short = cut(whole, most);
  const text = <bdi class={style} title={short === whole ? undefined : whole}>{short}</bdi>;
  return href ? <a href={href}>{text}</a> : text;
}
