/** The comps of a repository: which groups and environments it offers, and which packages belong to them. Pure. */
import { element, formatXml } from '../repositories/format-xml.ts';
import type { Resolution } from './resolution.ts';

/** Of the groups that were asked for, the packages that are on the medium. */
export function compsOf({ groups = [], environments = [] }: Pick<Resolution, 'groups' | 'environments'>): string {
  const text = (name: string, content: string) => element(name, {}, content);
  const ids = (name: string, list: readonly string[]) =>
    element(
      name,
      {},
      list.map((id) => text('groupid', id)),
    );
  return formatXml(
    element('comps', {}, [
      ...groups.map(({ id, name, packages }) =>
        element('group', {}, [
          text('id', id),
          text('name', name),
          text('description', name),
          text('default', 'false'),
          text('uservisible', 'true'),
          element(
            'packagelist',
            {},
            packages.map((member) => element('packagereq', { type: 'mandatory' }, member)),
          ),
        ]),
      ),
      ...environments.map(({ id, name, groups: members }, index) =>
        element('environment', {}, [
          text('id', id),
          text('name', name),
          text('description', name),
          text('display_order', String(index + 1)),
          ids('grouplist', members),
          ids('optionlist', []),
        ]),
      ),
    ]),
  );
}

/**
 * Of the groups that were asked for, those that the side repository's packages belong to: it may be the only one that has them, where they come from a requester's own repository.
 * Undefined where there are none.
 */
export function sideComps({ packages, groups = [], environments = [] }: Pick<Resolution, 'packages' | 'groups' | 'environments'>): string | undefined {
  const side = new Set(packages.flatMap(({ from, name }) => (from === 'side' ? [name] : [])));
  const wanted = groups.filter((group) => group.packages.some((name) => side.has(name)));
  if (wanted.length === 0) return undefined;
  const ids = new Set(wanted.map(({ id }) => id));
  return compsOf({ groups: wanted, environments: environments.filter((environment) => environment.groups.some((id) => ids.has(id))) });
}
